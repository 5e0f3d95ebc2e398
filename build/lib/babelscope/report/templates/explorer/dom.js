// Elements, made of tags, properties and children. A string becomes text, never markup.

export function el(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

export function svg(tag, properties = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);
}

function filled(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) node.style.setProperty(name, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

// A labelled choice; `choose(value)` is called when another one is taken.
export function choice(label, choose) {
  const select = el("select", { onchange: () => choose(select.value) });
  const node = el("label", { class: "x-field" }, el("span", {}, label), select);
  const offer = (options, value) => {
    const told = JSON.stringify(options);
    if (select.dataset.told !== told) {
      select.dataset.told = told;
      select.replaceChildren(...options.map(([key, text]) => el("option", { value: key }, text)));
    }
    select.value = value;
  };
  return { node, offer };
}

export function table(caption, head, rows, properties = {}) {
  return el(
    "div",
    { class: "scroll x-scroll", tabindex: "0", role: "region", "aria-label": caption },
    el(
      "table",
      properties,
      el("caption", { class: "hidden" }, caption),
      el("thead", {}, el("tr", {}, head)),
      el("tbody", {}, rows),
    ),
  );
}

// Scroll a wide table of steps sideways, so that the current one is seen.
export function inSight(node) {
  const region = node.querySelector(".x-scroll");
  const column = region?.querySelector("[aria-current='step']");
  if (!column) return;
  const [left, right] = [column.offsetLeft - 96, column.offsetLeft + column.offsetWidth - region.clientWidth];
  region.scrollLeft = Math.max(right, Math.min(region.scrollLeft, left), 0);
}
