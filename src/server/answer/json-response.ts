import { yieldToEventLoop } from '../../distributed/event-loop.ts';
import { clientGone } from '../wire/http-error.ts';
import { jsonPieces } from './json-pieces.ts';

const HEADERS = { 'content-type': 'application/json' };

/** Characters that are made at a time: others have a turn of the event loop in between. */
const PIECE = 16 * 1024;

/** What becomes of an answer. */
export interface JsonResponseEvents {
  /** It is long, and goes on when it has been returned. */
  readonly onOpen: () => void;
  /** Called once: everything was sent, or is about to be; or it broke off. */
  readonly onEnd: (error?: unknown) => void;
}

/** A value as JSON: in one piece where it is short, else as fast as the client takes it. */
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
  let isOver = false;
  const end = (error?: unknown) => {
    if (isOver) return;
    isOver = true;
    onEnd(error);
  };
  const body = new ReadableStream<Uint8Array>(
    {
      start(controller) {
        controller.enqueue(encoder.encode(first));
      },
      async pull(controller) {
        try {
          // A client that takes all at once would have all made at once.
          await yieldToEventLoop();
          if (isOver) return;
          if (next.done) {
            controller.close();
            end();
            return;
          }
          controller.enqueue(encoder.encode(next.value));
          next = pieces.next();
        } catch (error) {
          end(error);
          throw error;
        }
      },
      cancel: () => end(clientGone()),
    },
    { highWaterMark: 1 },
  );
  return new Response(body, { headers: HEADERS });
}
