// @ts-check
// Elements in one call.

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, unknown>} [properties] of the element; names with a dash are attributes
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") made.setAttribute(name, String(value));
    else Reflect.set(made, name, value);
  }
  made.append(...children);
  return made;
}

/**
 * A link that opens in a tab of its own, which `title` says.
 * @param {string} text
 * @param {string} href
 * @param {string} title
 */
export function link(text, href, title) {
  return element("a", { href, title, target: "_blank", rel: "noopener noreferrer", textContent: text });
}
