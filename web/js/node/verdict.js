/** What the node says of a result: whether it kept the structure, reached the target, and stayed in place. */

import { translator } from "../shared/words.js";

/** @typedef {import("./run.js").Verdict} Verdict */

const t = translator("run");

/**
 * @param {Verdict} verdict
 * @returns {import("./notes.js").Line}
 */
export function verdictLine(verdict) {
  const { kept, reached, inPlace, shift, judge, guided } = verdict;
  const parts = [kept === null ? t("verdict.unsure") : t(kept ? "verdict.kept" : "verdict.lost")];
  if (reached !== null) parts.push(t(reached ? "verdict.reached" : "verdict.missed"));
  if (inPlace) parts.push(t("verdict.inPlace"));
  else if (kept && shift !== null) parts.push(t("verdict.moved", { shift: shift.toFixed(1) }));
  const said = t("verdict", { what: parts.join(", ") });
  return {
    text: guided && judge ? `${said}. ${t("verdict.guided", { judge })}` : said,
    tone: kept === false || reached === false ? "warning" : "plain",
    title: figuresOf(verdict).join("\n"),
  };
}

/**
 * @param {Verdict} verdict
 * @returns {string[]}
 */
function figuresOf({ edgeF1, confidence, structure, probability, judge }) {
  const lines = [t("verdict.edges", { f1: edgeF1.toFixed(2), confidence: (confidence ?? 0).toFixed(2) })];
  if (structure !== null) lines.push(t("verdict.structure", { distance: structure.toFixed(4) }));
  if (probability !== null && judge) {
    lines.push(t("verdict.probability", { probability: probability.toFixed(2), judge }));
  }
  return lines;
}
