import js from "@eslint/js";
import globals from "globals";

export default [
  { files: ["web/js/**/*.js"] },
  { ignores: ["**/.*", "output/", "build/", "dist/"] },
  js.configs.recommended,
  { files: ["tests/**/*.mjs"], languageOptions: { globals: globals.node } },
  {
    files: ["web/js/**/*.js"],
    languageOptions: { globals: { ...globals.browser, LiteGraph: "readonly" } },
    rules: {
      curly: ["error", "multi-line"],
      eqeqeq: "error",
      "no-eval": "error",
      "no-implicit-globals": "error",
      "no-new-func": "error",
      "no-shadow": "error",
      "no-var": "error",
      "prefer-const": "error",
    },
  },
];
