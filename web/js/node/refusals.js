/** What ComfyUI's server says of a workflow that it refuses to queue. */

/**
 * Drops what is said again. A node that validates several inputs together gives one answer, and the server repeats it for
 * each of them.
 * @param {unknown} error of `api.queuePrompt`, whose response ComfyUI shows; changed in place
 */
export function tellOnce(error) {
  const refused = /** @type {{ response?: QueueResponse } | null | undefined} */ (error)?.response
    ?.node_errors;
  for (const node of Object.values(refused ?? {})) {
    if (node.class_type?.startsWith("DiffuseIT")) node.errors = withoutRepetitions(node.errors);
  }
}

/**
 * @param {NodeFault[]} faults
 * @returns {NodeFault[]} of those with the same sentence the one whose input the sentence begins with, or the first
 */
function withoutRepetitions(faults) {
  return faults.filter((fault) => {
    const alike = faults.filter(
      (other) => other.type === fault.type && sentenceOf(other) === sentenceOf(fault),
    );
    return fault === (alike.find((other) => sentenceOf(other).startsWith(`${inputOf(other)} `)) ?? alike[0]);
  });
}

/**
 * @param {NodeFault} fault
 * @returns {string} without the name of the input that the server puts before it
 */
function sentenceOf(fault) {
  return fault.details.replace(`${inputOf(fault)} - `, "");
}

/**
 * @param {NodeFault} fault
 * @returns {string}
 */
function inputOf(fault) {
  return fault.extra_info?.input_name ?? "";
}
