// Elements out of plain values. Strings always become text nodes: nothing here parses markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element. `on…` are listeners, `class` and attributes as written, `true` an empty attribute, null none. */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, String(value));
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children.flat(3)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** Put `children` in place of what is there. */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

const PATHS = {
  plus: "M12 5v14M5 12h14", menu: "M4 7h16M4 12h16M4 17h16", close: "M6 6l12 12M18 6L6 18",
  send: "M12 19V5M6 11l6-6 6 6", stop: "M7 7h10v10H7z", clip: "M20 11l-8.5 8.5a5 5 0 01-7-7L13 4a3.5 3.5 0 015 5l-8.6 8.6a2 2 0 01-3-3L14 7",
  mic: "M12 3a3 3 0 00-3 3v5a3 3 0 006 0V6a3 3 0 00-3-3zM5 11a7 7 0 0014 0M12 18v3",
  pencil: "M4 20h4L19 9l-4-4L4 16v4zM13.5 6.5l4 4", trash: "M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13M10 11v5M14 11v5",
  search: "M11 18a7 7 0 100-14 7 7 0 000 14zM16 16l4.5 4.5", copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  retry: "M4 12a8 8 0 0114-5.3L20 9M20 4v5h-5M20 12a8 8 0 01-14 5.3L4 15M4 20v-5h5",
  tool: "M4 5h16v14H4zM8 10l3 2.5L8 15M13 15h4", laptop: "M5 5h14v10H5zM2 19h20",
  chart: "M4 20h16M7 20v-6M12 20V6M17 20v-9", shield: "M12 3l8 3v6c0 5-3.5 8-8 9-4.5-1-8-4-8-9V6z",
  gear: "M12 15a3 3 0 100-6 3 3 0 000 6zM12 2.5v3M12 18.5v3M2.5 12h3M18.5 12h3M5.3 5.3l2.1 2.1M16.6 16.6l2.1 2.1M5.3 18.7l2.1-2.1M16.6 7.4l2.1-2.1",
  down: "M12 5v14M6 13l6 6 6-6", chevron: "M9 6l6 6-6 6", file: "M6 3h8l4 4v14H6zM14 3v4h4", chat: "M4 5h16v11H9l-5 4z",
  warning: "M12 4l9.5 16h-19zM12 10v4M12 17.2v.1", team: "M9 11a3.5 3.5 0 100-7 3.5 3.5 0 000 7zM2.5 20a6.5 6.5 0 0113 0M16 4.5a3.5 3.5 0 010 6.4M17.5 14a6.5 6.5 0 014 6",
  key: "M8 16a4 4 0 100-8 4 4 0 000 8zM12 12h9M18 12v3",
};

/** A picture that says nothing to screen readers. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/** A button with a picture; `label` is its name. */
export function iconButton(name, label, onclick, more) {
  return h("button", { type: "button", class: "icon-button", "aria-label": label, title: label, onclick, ...more }, icon(name));
}
