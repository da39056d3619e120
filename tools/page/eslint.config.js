// The scripts of the page are joined to one: what one of them declares at its top, the others see.
import { readdirSync, readFileSync } from "node:fs";
import js from "@eslint/js";
import globals from "globals";

const folder = new URL("../../desdis_match/page/viewer/", import.meta.url);
const scripts = readdirSync(folder).filter((name) => name.endsWith(".js"));
const declared = scripts.flatMap((name) => [
  ...readFileSync(new URL(name, folder), "utf8").matchAll(/^(?:const|let|class|function) (\w+)/gm),
].map((match) => match[1]));
const twice = declared.filter((name, i) => declared.indexOf(name) !== i);
if (twice.length) throw new Error(`declared in two scripts: ${twice.join(", ")}`);

export default [
  js.configs.recommended,
  {
    files: ["**/*.js"],
    linterOptions: { reportUnusedDisableDirectives: "error" },
    languageOptions: {
      ecmaVersion: 2022,
      sourceType: "script",
      globals: { ...globals.browser, ...Object.fromEntries(declared.map((name) => [name, "readonly"])) },
    },
    rules: {
      eqeqeq: "error",
      "no-var": "error",
      "prefer-const": "error",
      "no-redeclare": ["error", { builtinGlobals: false }],
      "no-unused-vars": ["error", { vars: "local", args: "none" }],
      "no-implied-eval": "error",
      "no-throw-literal": "error",
      "no-unmodified-loop-condition": "error",
      "no-self-compare": "error",
      "no-restricted-properties": ["error",
        { property: "innerHTML", message: "Names of photos are not HTML; use make() or textContent." },
        { property: "outerHTML", message: "Names of photos are not HTML; use make() or textContent." }],
    },
  },
];
