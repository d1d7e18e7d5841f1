import { once } from 'node:events';

/** Writes to standard output and waits for a slow reader, so that unread output does not fill the memory. */
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
  // An error that can't be written is dropped; the exit code remains.
  process.stderr.on('error', () => undefined);
}
