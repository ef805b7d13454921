// @ts-check
/** Elements in one expression. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string | number | boolean>} [attributes] true: without a value; false: not there
 * @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function html(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  set(element, attributes);
  element.append(...children);
  return element;
}

/**
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string | number>} [attributes]
 * @param {(Node | string)[]} children
 * @returns {SVGElementTagNameMap[Tag]}
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  set(element, attributes);
  element.append(...children);
  return element;
}

/**
 * @param {Element} element
 * @param {Record<string, string | number | boolean>} attributes
 */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

/**
 * A button with a picture on it.
 * @param {string} name what it does, for all who cannot see the picture
 * @param {string} path of an icon of 16 by 16
 * @param {() => void} act
 * @returns {HTMLButtonElement}
 */
export function iconButton(name, path, act) {
  const icon = svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: path }));
  const button = html(
    "button",
    { type: "button", class: "diffuseit-sign", title: name, "aria-label": name },
    icon,
  );
  button.addEventListener("click", act);
  return button;
}

/**
 * A link that opens in a tab of its own, which `title` says.
 * @param {string} text
 * @param {string} href
 * @param {string} title
 */
export function link(text, href, title) {
  return html("a", { href, title, target: "_blank", rel: "noopener noreferrer" }, text);
}

/**
 * Loads styles, once.
 * @param {URL} sheet
 */
export function loadStyles({ href }) {
  if (!document.querySelector(`link[href="${href}"]`)) {
    document.head.append(html("link", { rel: "stylesheet", href }));
  }
}
