import { RankFailedError } from '../errors.ts';

/** Location of a worker's script: a URL or, in Node, a path; in browsers also a function that starts the worker. */
export type WorkerScript = string | URL | (() => Worker);

/** The scripts of workers, for programs whose bundler does not find them: see docs/bundlers.md. */
export interface WorkerScripts {
  /** Runs a rank: `mamba2/rank-worker`. */
  readonly rank?: WorkerScript | undefined;
  /** Fetches and stores a model, in browsers: `mamba2/files-worker`. */
  readonly files?: WorkerScript | undefined;
  /** Turns long texts into tokens, in Node: `mamba2/text-worker`. */
  readonly text?: WorkerScript | undefined;
  /** Compiles the forms of structured outputs: `mamba2/grammar-worker`. */
  readonly grammar?: WorkerScript | undefined;
}

export type WorkerKind = keyof WorkerScripts;

/** Advice for when a worker's script is missing. */
export function missingScriptHint(kind: WorkerKind): string {
  return `Have your bundler emit 'mamba2/${kind}-worker', or say where it is by the option 'workers': { ${kind}: … } (docs/bundlers.md).`;
}

/** The URL of the script of a worker of Node. @throws RankFailedError where it is given as what Node does not take. */
export function nodeScript(kind: WorkerKind, given: WorkerScript | undefined, own: () => URL): URL {
  if (given === undefined) return own();
  if (typeof given === 'function') {
    throw new RankFailedError(
      `workers.${kind} is a function, which only browsers take.`,
      'Give a path or a file: URL.',
    );
  }
  const isPath = typeof given === 'string' && !/^(file|data):/i.test(given);
  return isPath ? process.getBuiltinModule('node:url').pathToFileURL(given) : new URL(given);
}

/** The URL of a worker's script that exists. @throws RankFailedError if it does not, or as `nodeScript`. */
export function existingNodeScript(kind: WorkerKind, given: WorkerScript | undefined, own: () => URL): URL {
  const script = nodeScript(kind, given, own);
  if (script.protocol === 'file:' && !process.getBuiltinModule('node:fs').existsSync(script)) {
    const path = process.getBuiltinModule('node:url').fileURLToPath(script);
    throw new RankFailedError(
      `The worker '${kind}' can't be started: there is no script '${path}'.`,
      missingScriptHint(kind),
    );
  }
  return script;
}
