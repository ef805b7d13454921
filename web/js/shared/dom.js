/** Shorthand for elements. Strings become attributes and text nodes, never markup. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string | number | boolean>} [attributes] see `setAttributes`
 * @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function html(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  setAttributes(element, attributes);
  element.append(...children);
  return element;
}

/**
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string | number | boolean>} [attributes] see `setAttributes`
 * @param {(Node | string)[]} children
 * @returns {SVGElementTagNameMap[Tag]}
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  setAttributes(element, attributes);
  element.append(...children);
  return element;
}

/**
 * @param {Element} element
 * @param {Record<string, string | number | boolean>} attributes true sets an empty attribute, false removes it
 */
export function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

/**
 * A button that shows an icon.
 * @param {string} name the tooltip, and what a screen reader says
 * @param {string} path the path of an icon of 16 by 16 pixels
 * @param {() => void} onClick
 * @returns {HTMLButtonElement}
 */
export function iconButton(name, path, onClick) {
  const icon = svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: path }));
  const attributes = { type: "button", class: "diffuseit-icon-button", title: name, "aria-label": name };
  const button = html("button", attributes, icon);
  button.addEventListener("click", onClick);
  return button;
}

/**
 * A link that opens in a new tab.
 * @param {string} text
 * @param {string} href
 * @param {string} title the tooltip, which should mention the new tab
 * @returns {HTMLAnchorElement}
 */
export function link(text, href, title) {
  return html("a", { href, title, target: "_blank", rel: "noopener noreferrer" }, text);
}

/**
 * Loads a style sheet, once.
 * @param {URL} sheet
 */
export function loadStyles({ href }) {
  const loaded = [...document.querySelectorAll("link")].some((known) => known.href === href);
  if (!loaded) document.head.append(html("link", { rel: "stylesheet", href }));
}
