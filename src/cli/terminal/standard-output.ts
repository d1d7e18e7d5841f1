import { once } from 'node:events';

/** Writes to standard output and waits while its reader is behind, so that a slow pipe does not fill the memory. */
export async function print(text: string): Promise<void> {
  if (text !== '' && !process.stdout.write(text)) await once(process.stdout, 'drain');
}

/**
 * Ends the process in silence when the reader goes away, as `| head` does, and with one line where nothing can be
 * written.
 */
export function endWithReader(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    process.stderr.write(`error: Standard output can't be written: ${error.message}.\n`);
    process.exit(1);
  });
  // What can't be said is left unsaid; the exit code still tells.
  process.stderr.on('error', () => undefined);
}
