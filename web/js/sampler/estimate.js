// @ts-check
/**
 * What the next run will take, by what runs with the same models and losses took on this machine.
 *
 * @typedef {{ secondsPerStep: number, memory: number, calls: Record<string, number> }} Figures
 * @typedef {{ steps: number | null, measured: Figures | null }} Estimate steps: null where a link decides them
 */

export {}
