// A page of a study that runs: loads itself anew when there is more to show.

const PAUSE = 3000; // milliseconds between two looks
const shown = document.documentElement.dataset.version;
const said = document.getElementById("live");

async function look() {
  try {
    const answer = await fetch(location.pathname, { method: "HEAD", cache: "no-store" });
    said.replaceChildren();
    if (answer.ok && answer.headers.get("ETag") !== `"${shown}"`) location.reload();
  } catch {
    said.replaceChildren("babelscope watch has ended, so this page stays as it is.");
  }
}

setInterval(look, PAUSE);
