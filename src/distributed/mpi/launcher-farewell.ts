import { closeSync, readSync, writeSync } from 'node:fs';

/** Longest answer of the launcher's part on this machine. */
const ANSWER_BYTES = 256;

/**
 * Tells MPICH's launcher, Hydra, that this process ends well, in the words of MPI_Finalize: a process that ends without
 * them is a failure to Hydra, which then ends the job's other processes, and at times itself with an error.
 *
 * The words are those of PMI-1, the process manager's protocol: lines of text on the socket that `PMI_FD` numbers.
 * @returns whether Hydra has answered; false where the process has another launcher.
 */
export function sayFarewell({ PMI_FD: socket, MPI_LOCALNRANKS: hydra }: NodeJS.ProcessEnv): boolean {
  if (socket === undefined || hydra === undefined) return false;
  const fd = Number(socket);
  try {
    writeSync(fd, 'cmd=finalize\n');
    const answer = Buffer.alloc(ANSWER_BYTES);
    const isAnswered = answer.toString('utf8', 0, readSync(fd, answer)).includes('finalize_ack');
    closeSync(fd);
    return isAnswered;
  } catch {
    // The launcher has gone: it waits for no word.
    return false;
  }
}
