import type { Scan } from './json-scanner.ts';
import type { ToolFunction } from './tool-definition.ts';

/** Receiver of the calls that a reader finds. */
export interface CallSink {
  /** A call begins; it is unfinished until `close`. */
  open(name: string): void;
  /** The next part of the open call's arguments, as JSON. */
  arguments(json: string): void;
  /** The open call is whole. */
  close(): void;
}

/**
 * Reads what follows a marker, up to the end of its calls, character by character. `past` says that the calls have ended
 * before the character; `error`, that there is no further call, and that text since the last whole call is none.
 */
export interface CallReader {
  push(char: string): Scan;
}

/** The text around a call that a grammar enforces: see XGrammar's structural tags. */
export interface CallFrame {
  readonly begin: string;
  /** How the arguments are written between begin and end. */
  readonly arguments: 'json' | 'xml';
  readonly end: string;
}

/** How a family of models writes its calls. */
export interface ToolDialect {
  /** Name for `--tool-call-parser`. */
  readonly name: string;
  /** Texts that open calls, none of which begins another. */
  readonly markers: readonly string[];
  /** Text that may follow a call, and is no part of the answer. */
  readonly endMarker?: string;
  /** Form of the ids that the family's templates accept. Default: `call_` and 24 characters. */
  readonly newId?: () => string;
  reader(marker: string, sink: CallSink, tools: readonly ToolFunction[]): CallReader;
  /** The text around a call of this function, for a grammar that enforces it. */
  frame(name: string): CallFrame;
}
