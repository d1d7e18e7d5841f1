import { moduleFile } from '../../distributed/module-file.ts';
import { nodeWorkerOptions } from '../../distributed/node-worker-options.ts';
import { existingNodeScript, type WorkerScript } from '../../distributed/worker-scripts.ts';
import { RankFailedError } from '../../errors.ts';
import type { RankMessage, RankRequest } from './rank-protocol.ts';
import type { RankThread, RankThreadEvents } from './rank-thread.ts';

/** Milliseconds that a process has to end by itself, before it is killed. */
const GRACE = 2000;

/**
 * Starts a process with the script of ranks, for a rank that has a GPU of its own: when one of a group of GPUs hangs, calls of
 * the others' drivers may, too, and only a process can be ended then, with all that it has on its GPU.
 * @param script where it is, if it is not where it should be.
 * @throws RankFailedError where there is no such script.
 */
export function startRankProcess(
  rank: number,
  { onMessage, onEnd }: RankThreadEvents,
  script?: WorkerScript,
): RankThread {
  const { fork } = process.getBuiltinModule('node:child_process');
  const url = existingNodeScript('rank', script, () => moduleFile('./rank-worker', import.meta.url));
  if (url.protocol !== 'file:') {
    throw new RankFailedError(`Rank ${rank} needs a file as its script, and got '${url.protocol}'.`, 'Give a path.');
  }
  const { execArgv = [], env } = nodeWorkerOptions();
  const child = fork(process.getBuiltinModule('node:url').fileURLToPath(url), {
    execArgv,
    env: typeof env === 'object' ? env : process.env,
    serialization: 'advanced',
    // What libraries print is no output of this program.
    stdio: ['ignore', 2, 2, 'ipc'],
  });
  let isGone = false;
  const gone = new Promise<void>((resolve) => {
    const end = (problem: string, cause?: unknown) => {
      isGone = true;
      resolve();
      onEnd(problem, cause);
    };
    child.on('error', (error) => end(`can't be started: ${error.message}`, error));
    child.on('exit', (code, signal) => end(signal ? `was ended by ${signal}` : `exited with code ${code}`));
  });
  child.on('message', (message) => onMessage(message as RankMessage));
  return {
    post: (request: RankRequest) => {
      // Memory can't be given back to another process.
      if (request.type === 'recycle' || !child.connected) return;
      // Where it fails the process is about to be gone, which is told.
      child.send(request, () => {});
    },
    terminate: async () => {
      if (isGone) return;
      // The process ends when it has lost its parent.
      if (child.connected) child.disconnect();
      const timer = setTimeout(() => child.kill('SIGKILL'), GRACE);
      await gone;
      clearTimeout(timer);
    },
  };
}
