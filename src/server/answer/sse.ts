import { yieldToEventLoop } from '../../distributed/event-loop.ts';
import { clientGone, toHttpError } from '../wire/http-error.ts';

const HEADERS = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-cache',
  // Proxies such as nginx would collect events before they pass them on.
  'x-accel-buffering': 'no',
};

/**
 * Server-sent events: each object as JSON, then `[DONE]`. An error becomes an event, because the status has been sent
 * before. The next event is made when the last has gone to the client's connection, so a slow client makes the iterator
 * wait.
 *
 * @param onEnd called once, when everything was sent, an error included, or the client has left.
 */
export function eventStream(events: AsyncIterator<object>, onEnd: (error?: unknown) => void): Response {
  const encoder = new TextEncoder();
  let isOver = false;
  const end = (error?: unknown) => {
    if (isOver) return;
    isOver = true;
    onEnd(error);
  };
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const send = (text: string) => controller.enqueue(encoder.encode(text));
      try {
        // Otherwise a quick client would have all events that are ready written in one turn of the event loop.
        await yieldToEventLoop();
        if (isOver) return;
        const { done, value } = await events.next();
        if (isOver) return;
        if (!done) return send(event(value));
        send(DONE);
        end();
      } catch (error) {
        if (isOver) return;
        send(event(toHttpError(error)) + DONE);
        end(error);
      }
      controller.close();
    },
    cancel() {
      end(clientGone());
    },
  });
  return new Response(body, { headers: HEADERS });
}

const DONE = 'data: [DONE]\n\n';

function event(value: object): string {
  return `data: ${JSON.stringify(value)}\n\n`;
}
