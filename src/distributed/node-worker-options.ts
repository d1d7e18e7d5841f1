import type { WorkerOptions } from 'node:worker_threads';

/** Flags that limit what a program may do. A worker without them could do all. */
const PERMISSION_FLAG = /^--(?:(?:no-)?allow-|permission|experimental-permission)/;
/** Permission flags whose value may be a separate argument. */
const WITH_VALUE = /^--allow-fs-(?:read|write)$/;

/**
 * Options that every worker of this library is started with in Node, besides its name and data. A worker inherits the flags of
 * its program and NODE_OPTIONS otherwise: some keep it from starting (`--input-type`), others have it load and run what is
 * the program's alone (`--import`, `--require`, `--test`). No worker needs any. Flags of V8 are the process's and hold in
 * workers without being named. Under `--watch` a variable has workers send their program the names of files that they load,
 * between their own messages: it is left out. Permissions are named, so that a worker may do no more than its program.
 *
 * @param program whose worker it will be. Default: this one.
 */
export function nodeWorkerOptions(
  program: Pick<NodeJS.Process, 'execArgv' | 'env' | 'versions'> = process,
): Pick<WorkerOptions, 'execArgv' | 'env'> {
  // Deno's workers inherit no flags, and Deno asks its user before a program may read the environment.
  if (program.versions.deno !== undefined) return {};
  const execArgv = permissionsOf(program.execArgv);
  const { NODE_OPTIONS, WATCH_REPORT_DEPENDENCIES: watch, ...env } = program.env;
  if (NODE_OPTIONS === undefined && watch === undefined) return { execArgv };
  const options = permissionsOf(splitOptions(NODE_OPTIONS ?? '')).join(' ');
  return { execArgv, env: { ...env, NODE_OPTIONS: options } };
}

function permissionsOf(flags: readonly string[]): string[] {
  return flags.filter((flag, i) => PERMISSION_FLAG.test(flag) || (i > 0 && WITH_VALUE.test(flags[i - 1])));
}

/** Splits options as Node does: at spaces outside of double quotes, in which a backslash takes the next character as it is. */
function splitOptions(options: string): string[] {
  return options.match(/(?:"(?:\\.|[^"\\])*"|[^\s"])+/g) ?? [];
}
