// @ts-check
/** What the screen says, in the languages that the nodes speak. */

import { locale } from "../settings.js";

const ENGLISH = {
  losses: "Losses over the steps",
  step: "Step {step} of {total}",
  sum: "all together",
  logarithmic: "Logarithmic scale",
  compare: "Before and after",
  restart: "began again with new noise",
  resample: "level repeated (resampling)",
  picture: "next picture of the batch",
  toggle: "Show or hide {name}",
  frames: "Pictures on the way",
  enlarge: "Show step {step} large",
  before: "Before",
  after: "After",
  divider: "How much of the picture before is shown",
  close: "Close",
  earlier: "Earlier step",
  later: "Later step",
  failed: "Ended early: {done} of {total} steps",
  silent: "No word from the server since step {done} of {total}",
  running: "{done} of {total}, {left} left",
  starting: "Starting",
  took: "{steps} steps in {time}",
  perStep: "{time} per step",
  memory: "{memory} of memory",
  each: "Per step: {what}",
  estimate: "About {time}, {memory}",
  noRun: "No run yet",
  noRunOfThese: "No run with these models yet",
  noRunHelp: "Time and memory are told once a run with these models and losses was measured",
  unknownSteps: "{time} per step, {memory}",
  calls: "Network calls per step: {calls}",
  measuredAt: "The estimate: measured here with these models and losses, {pictures} × {width}×{height}",
  share: "Share of the last gradient: {share}",
  shareHelp: "How strongly this loss pulls on the picture, beside the others of the run",
  text_style: "text style",
  self_similarity: "self-similarity",
  contrastive: "contrastive",
  divergence: "divergence",
  style_cls: "style",
  style_pixels: "style colours",
  range: "range",
  identity: "identity",
  anchor: "anchor",
  source_anchor: "source anchor",
  colour_mean: "mean colour",
  colour_covariance: "colour spread",
};

/** @typedef {keyof typeof ENGLISH} Word */

/** @type {Record<Word, string>} */
const KOREAN = {
  losses: "단계별 손실",
  step: "{total}단계 중 {step}단계",
  sum: "합계",
  logarithmic: "로그 눈금",
  compare: "전후 비교",
  restart: "새 노이즈로 다시 시작",
  resample: "같은 수준 반복(리샘플링)",
  picture: "배치의 다음 그림",
  toggle: "{name} 표시 또는 숨기기",
  frames: "과정 그림",
  enlarge: "{step}단계 크게 보기",
  before: "전",
  after: "후",
  divider: "이전 그림을 보이는 정도",
  close: "닫기",
  earlier: "이전 단계",
  later: "다음 단계",
  failed: "중간에 끝남: {total}단계 중 {done}단계",
  silent: "서버 응답 없음: {total}단계 중 {done}단계까지",
  running: "{done}/{total}, {left} 남음",
  starting: "시작하는 중",
  took: "{steps}단계, {time}",
  perStep: "단계당 {time}",
  memory: "메모리 {memory}",
  each: "단계당: {what}",
  estimate: "약 {time}, {memory}",
  noRun: "아직 실행 없음",
  noRunOfThese: "이 모델들로 아직 실행 없음",
  noRunHelp: "같은 모델과 손실로 한 번 실행하면 시간과 메모리를 알려 줍니다",
  unknownSteps: "단계당 {time}, {memory}",
  calls: "단계당 네트워크 호출: {calls}",
  measuredAt: "예상치: 이 컴퓨터에서 같은 모델과 손실로 측정, {pictures} × {width}×{height}",
  share: "마지막 기울기에서 차지하는 비율: {share}",
  shareHelp: "다른 손실에 견주어 이 손실이 그림을 당기는 세기",
  text_style: "텍스트 스타일",
  self_similarity: "자기 유사도",
  contrastive: "대조",
  divergence: "발산",
  style_cls: "스타일",
  style_pixels: "스타일 색",
  range: "범위",
  identity: "신원",
  anchor: "앵커",
  source_anchor: "원본 앵커",
  colour_mean: "평균 색",
  colour_covariance: "색 분포",
};

/** @type {Record<Word, string>} */
const JAPANESE = {
  losses: "ステップごとの損失",
  step: "{total} ステップ中 {step}",
  sum: "合計",
  logarithmic: "対数目盛",
  compare: "前後の比較",
  restart: "新しいノイズでやり直し",
  resample: "同じレベルの繰り返し（リサンプリング）",
  picture: "バッチの次の画像",
  toggle: "{name} の表示を切り替え",
  frames: "途中の画像",
  enlarge: "ステップ {step} を大きく表示",
  before: "前",
  after: "後",
  divider: "変換前の画像を見せる割合",
  close: "閉じる",
  earlier: "前のステップ",
  later: "次のステップ",
  failed: "途中で終了：{total} ステップ中 {done}",
  silent: "サーバー応答なし：{total} ステップ中 {done} まで",
  running: "{done} / {total}、残り {left}",
  starting: "開始中",
  took: "{steps} ステップ、{time}",
  perStep: "1 ステップ {time}",
  memory: "メモリ {memory}",
  each: "1 ステップ：{what}",
  estimate: "約 {time}、{memory}",
  noRun: "まだ実行なし",
  noRunOfThese: "このモデルではまだ実行なし",
  noRunHelp: "同じモデルと損失で一度実行すると、時間とメモリがわかります",
  unknownSteps: "1 ステップ {time}、{memory}",
  calls: "1 ステップのネットワーク呼び出し：{calls}",
  measuredAt: "見積もり：このマシンで同じモデルと損失により計測、{pictures} × {width}×{height}",
  share: "最後の勾配に占める割合：{share}",
  shareHelp: "ほかの損失と比べて、この損失が画像を引く強さ",
  text_style: "テキストスタイル",
  self_similarity: "自己相似",
  contrastive: "対照",
  divergence: "発散",
  style_cls: "スタイル",
  style_pixels: "スタイルの色",
  range: "範囲",
  identity: "同一性",
  anchor: "アンカー",
  source_anchor: "元画像アンカー",
  colour_mean: "平均色",
  colour_covariance: "色の広がり",
};

/** @type {Record<Word, string>} */
const CHINESE = {
  losses: "各步的损失",
  step: "第 {step} 步，共 {total} 步",
  sum: "总和",
  logarithmic: "对数刻度",
  compare: "前后对比",
  restart: "以新噪声重新开始",
  resample: "重复同一层级（重采样）",
  picture: "批次中的下一张图",
  toggle: "显示或隐藏{name}",
  frames: "过程图片",
  enlarge: "放大第 {step} 步",
  before: "之前",
  after: "之后",
  divider: "显示多少原图",
  close: "关闭",
  earlier: "上一步",
  later: "下一步",
  failed: "提前结束：共 {total} 步，已完成 {done} 步",
  silent: "服务器无响应：共 {total} 步，已到第 {done} 步",
  running: "{done} / {total}，剩余 {left}",
  starting: "正在开始",
  took: "{steps} 步，{time}",
  perStep: "每步 {time}",
  memory: "内存 {memory}",
  each: "每步：{what}",
  estimate: "约 {time}，{memory}",
  noRun: "尚未运行",
  noRunOfThese: "这些模型尚未运行过",
  noRunHelp: "用相同的模型和损失运行一次后，即可得知时间和内存",
  unknownSteps: "每步 {time}，{memory}",
  calls: "每步网络调用：{calls}",
  measuredAt: "估计：在本机以相同的模型和损失测得，{pictures} × {width}×{height}",
  share: "在最近一次梯度中的占比：{share}",
  shareHelp: "与本次运行的其他损失相比，此损失对图片的拉力",
  text_style: "文本风格",
  self_similarity: "自相似",
  contrastive: "对比",
  divergence: "散度",
  style_cls: "风格",
  style_pixels: "风格颜色",
  range: "范围",
  identity: "身份",
  anchor: "锚定",
  source_anchor: "源图锚定",
  colour_mean: "平均颜色",
  colour_covariance: "颜色分布",
};

/** @type {Record<string, Record<Word, string>>} */
const LANGUAGES = { en: ENGLISH, ko: KOREAN, ja: JAPANESE, zh: CHINESE };

/** @returns {Record<Word, string>} */
function language() {
  return LANGUAGES[locale().split("-")[0]] ?? ENGLISH;
}

/**
 * @param {Word} word
 * @param {Record<string, string | number>} [values] what stands for the names in braces
 * @returns {string}
 */
export function say(word, values = {}) {
  return language()[word].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/**
 * What the term of a loss is called.
 * @param {string} term
 * @returns {string}
 */
export function termName(term) {
  return term in ENGLISH ? say(/** @type {Word} */ (term)) : term.replaceAll("_", " ");
}

/**
 * @param {number} seconds
 * @returns {string}
 */
export function duration(seconds) {
  const unit = (/** @type {number} */ value, /** @type {string} */ name) =>
    new Intl.NumberFormat(locale(), {
      style: "unit",
      unit: name,
      unitDisplay: "short",
      maximumSignificantDigits: 2,
    }).format(value);
  if (seconds < 1) return unit(Math.max(1, seconds * 1000), "millisecond");
  if (seconds < 90) return unit(seconds, "second");
  return seconds < 5400 ? unit(seconds / 60, "minute") : unit(seconds / 3600, "hour");
}

/**
 * @param {number} bytes
 * @returns {string}
 */
export function size(bytes) {
  const [value, unit] = bytes < 2 ** 30 ? [bytes / 2 ** 20, "MB"] : [bytes / 2 ** 30, "GB"];
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${unit}`;
}
