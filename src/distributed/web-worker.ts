import { RankFailedError } from '../errors.ts';
import { missingScriptHint, type WorkerKind, type WorkerScript } from './worker-scripts.ts';

/** A Web Worker that was started, and where its script was looked for, in words. */
export interface StartedWorker {
  readonly worker: Worker;
  readonly origin: string;
}

export interface WebWorkerOptions {
  readonly kind: WorkerKind;
  /** Location of the script, if the application gave one. */
  readonly given: WorkerScript | undefined;
  /** `import.meta.url` of the module that starts it, next to which the script lies unless it was bundled. */
  readonly moduleUrl: string | undefined;
  /** Starts it with the very expression that bundlers look for. */
  readonly start: () => Worker;
}

/** Starts a module worker, whose script may lie on another origin than the page. @throws RankFailedError */
export function startWebWorker(options: WebWorkerOptions): StartedWorker {
  const { kind, given } = options;
  try {
    if (typeof given === 'function') return { worker: given(), origin: `the function workers.${kind}` };
    if (given !== undefined) {
      const url = new URL(given, globalThis.document?.baseURI ?? globalThis.location.href);
      return { worker: startFrom(url, kind), origin: `'${url}'` };
    }
    return startOwn(options);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new RankFailedError(`The worker '${kind}' can't be started: ${reason}.`, missingScriptHint(kind), { cause });
  }
}

function startOwn({ kind, moduleUrl = '', start }: WebWorkerOptions): StartedWorker {
  const path = `./${kind}-worker.js`;
  const url = URL.canParse(path, moduleUrl) ? new URL(path, moduleUrl) : undefined;
  // What bundlers leave there is a place on the machine that they ran on.
  if (!url || !/^https?:$/.test(url.protocol)) return { worker: start(), origin: 'the place that the bundler chose' };
  return { worker: isOwnOrigin(url) ? start() : startFrom(url, kind), origin: `'${url}'` };
}

function startFrom(url: URL, kind: WorkerKind): Worker {
  const options: WorkerOptions = { type: 'module', name: `mamba2 ${kind}` };
  if (isOwnOrigin(url) || !/^https?:$/.test(url.protocol)) return new Worker(url, options);
  // Scripts of another origin can't be started, but they can be imported.
  const source = `import ${JSON.stringify(url)};`;
  return new Worker(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })), options);
}

function isOwnOrigin({ origin }: URL): boolean {
  return origin === globalThis.location.origin;
}
