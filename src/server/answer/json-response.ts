import { yieldToEventLoop } from '../../distributed/event-loop.ts';
import { clientGone } from '../wire/http-error.ts';
import { jsonPieces } from './json-pieces.ts';

const HEADERS = { 'content-type': 'application/json' };

/** Characters that are written at a time: other requests get a turn of the event loop in between. */
const PIECE = 16 * 1024;
/** Bytes of what is only sent. */
const WRITTEN_PIECE = 256 * 1024;

/** Listeners to the end of an answer. */
export interface JsonResponseEvents {
  /** Called when the answer is long, so that sending continues after the response was returned. */
  readonly onOpen: () => void;
  /** Called once, when all was handed over or the answer broke off. */
  readonly onEnd: (error?: unknown) => void;
}

/** Response with a value as JSON: in one part if it is short, else as fast as the client reads. */
export function jsonResponse(value: unknown, { onOpen, onEnd }: JsonResponseEvents): Response {
  const pieces = jsonPieces(value, PIECE);
  const first = pieces.next().value ?? '';
  let next = pieces.next();
  if (next.done) {
    onEnd();
    return new Response(first, { headers: HEADERS });
  }
  onOpen();
  const encoder = new TextEncoder();
  function* rest(): Generator<Uint8Array, void> {
    yield encoder.encode(first);
    for (; !next.done; next = pieces.next()) yield encoder.encode(next.value);
  }
  return new Response(piecewise(rest(), onEnd), { headers: HEADERS });
}

/** Response with written JSON: in one part if it is short, else as fast as the client reads. */
export function writtenResponse(
  parts: readonly Uint8Array<ArrayBuffer>[],
  { onOpen, onEnd }: JsonResponseEvents,
): Response {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  if (length <= WRITTEN_PIECE) {
    onEnd();
    return new Response(Buffer.concat(parts), { headers: HEADERS });
  }
  onOpen();
  function* pieces(): Generator<Uint8Array, void> {
    for (const part of parts) {
      for (let begin = 0; begin < part.length; begin += WRITTEN_PIECE) {
        yield part.subarray(begin, begin + WRITTEN_PIECE);
      }
    }
  }
  return new Response(piecewise(pieces(), onEnd), { headers: { ...HEADERS, 'content-length': `${length}` } });
}

/** Stream that asks for the next part when the client has read the last. */
function piecewise(pieces: Iterator<Uint8Array, void>, onEnd: JsonResponseEvents['onEnd']): ReadableStream<Uint8Array> {
  let isOver = false;
  const end = (error?: unknown) => {
    if (isOver) return;
    isOver = true;
    onEnd(error);
  };
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          // Otherwise a quick client would have all parts written in one turn of the event loop.
          await yieldToEventLoop();
          if (isOver) return;
          const { done, value } = pieces.next();
          if (!done) return controller.enqueue(value);
          controller.close();
          end();
        } catch (error) {
          end(error);
          throw error;
        }
      },
      cancel: () => end(clientGone()),
    },
    { highWaterMark: 1 },
  );
}
