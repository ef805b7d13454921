/** Prompts: nodes by execution id, as the server gets them. */

const LONGEST_TEXT = 1000;

/**
 * @param {Prompt} prompt
 * @param {string} node an execution id in it
 * @returns {string[]} the ids of the node and of all that it depends on
 */
export function upstream(prompt, node) {
  const seen = new Set([node]);
  for (const id of seen) {
    for (const value of Object.values(prompt[id].inputs)) {
      const other = linkedId(value);
      if (other !== null && Object.hasOwn(prompt, other)) seen.add(other);
    }
  }
  return [...seen];
}

/**
 * @param {unknown} value of an input
 * @returns {string | null} the id of the node that it is linked to
 */
function linkedId(value) {
  return Array.isArray(value) && value.length === 2 && typeof value[0] === "string" ? value[0] : null;
}

/**
 * @param {Prompt} prompt
 * @param {string} node
 * @returns {Prompt} what the server needs to tell what comes of the node: of other packs' nodes only links, numbers and
 * short texts, for they may hold whole pictures
 */
export function relevantPart(prompt, node) {
  return Object.fromEntries(
    upstream(prompt, node).map((id) => {
      const { class_type, inputs } = prompt[id];
      const isOwn = class_type?.startsWith("DiffuseIT");
      const kept = Object.entries(inputs).filter(([, value]) => isOwn || isShort(value));
      return [id, { class_type, inputs: Object.fromEntries(kept) }];
    }),
  );
}

/**
 * @param {unknown} value
 * @returns {boolean}
 */
function isShort(value) {
  if (typeof value === "string") return value.length <= LONGEST_TEXT;
  return typeof value === "number" || typeof value === "boolean" || linkedId(value) !== null;
}

/**
 * @param {Prompt} prompt
 * @param {string} node
 * @returns {string} a hash of all that the result of the node depends on, as far as the prompt tells
 */
export function fingerprint(prompt, node) {
  const parts = upstream(prompt, node)
    .sort()
    .map((id) => [id, prompt[id].class_type, Object.entries(prompt[id].inputs).sort(byName)]);
  return hash(JSON.stringify(parts));
}

/**
 * @param {[string, unknown]} one
 * @param {[string, unknown]} other
 * @returns {number}
 */
function byName([one], [other]) {
  return one < other ? -1 : 1;
}

/**
 * @param {string} text
 * @returns {string} 64 bits as hexadecimal digits: FNV-1a with two seeds
 */
function hash(text) {
  return [0x811c9dc5, 0x01234567]
    .map((seed) => {
      let value = seed;
      for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
      return (value >>> 0).toString(16).padStart(8, "0");
    })
    .join("");
}
