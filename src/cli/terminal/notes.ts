import { styled } from './styled.ts';

/** Prints a remark for a person at the terminal; logs do not get it, nor do runs with --quiet. */
export function note(message: string, quiet: boolean): void {
  if (process.stderr.isTTY && !quiet) process.stderr.write(`${styled('dim', message, process.stderr)}\n`);
}

/** Something that the reader of the result has to know, wherever standard error goes. */
export function warn(message: string): void {
  process.stderr.write(`${styled('yellow', 'warning:', process.stderr)} ${message}\n`);
}
