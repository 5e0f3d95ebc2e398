"""An installed package has no docs folder, so it carries the page that its errors name."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithPage(build_py):
    """Copies docs/troubleshooting.md beside the modules; an editable install has it where it is."""

    def run(self) -> None:
        """Build the package, then add the page."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "babelscope", "troubleshooting.md")
            self.copy_file("docs/troubleshooting.md", str(target))


setup(cmdclass={"build_py": BuildWithPage})
