/**
 * Starts a module worker whose script may lie on another origin than the page.
 * @param start makes it from the page's own origin, with the very expression that bundlers look for.
 */
export function startModuleWorker(script: URL, name: string, start: () => Worker): Worker {
  if (script.origin === globalThis.location.origin) return start();
  // Scripts of another origin can't be started, but they can be imported.
  const source = `import ${JSON.stringify(script)};`;
  const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
  return new Worker(url, { type: 'module', name });
}
