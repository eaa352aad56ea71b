// Starts the conformance suite. It imports `globSync` of `fs`, which Node.js has from version 22 on, for a command that
// is not used here; in an older one the import alone would end the process, so the suite gets an `fs` that has the name.
import * as fs from "node:fs";
import { register } from "node:module";

if (!("globSync" in fs)) {
  const more = "export * from 'node:fs'; export const globSync = () => { throw new Error('this Node.js has no globSync'); };";
  const hooks = `
    const url = "data:text/javascript," + encodeURIComponent(${JSON.stringify(more)});
    export const resolve = (name, context, next) =>
      name === "fs" && (context.parentURL ?? "").includes("/conformance/") ? { url, shortCircuit: true } : next(name, context);
  `;
  register("data:text/javascript," + encodeURIComponent(hooks));
}
