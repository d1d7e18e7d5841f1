import { yieldToEventLoop } from '../../distributed/event-loop.ts';
import { clientGone, type HttpError, toHttpError } from '../wire/http-error.ts';
import type { StreamForm } from './stream-form.ts';

const HEADERS = {
  'cache-control': 'no-cache',
  // Proxies such as nginx would collect events before they pass them on.
  'x-accel-buffering': 'no',
};

/** How a stream is written, and how it ends with an error. */
interface EventWriter {
  readonly streamForm: StreamForm;
  failure(error: HttpError): Iterable<object>;
}

/**
 * A stream of events. An error becomes one, because the status has been sent before. The next event is made when the
 * last has gone to the client's connection, so a slow client makes the iterator wait.
 *
 * @param onEnd called once, when everything was sent, an error included, or the client has left.
 */
export function eventStream(
  events: AsyncIterator<object>,
  writer: EventWriter,
  onEnd: (error?: unknown) => void,
): Response {
  const { streamForm: form } = writer;
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
        if (!done) return send(form.write(value));
        if (form.end !== '') send(form.end);
        end();
      } catch (error) {
        if (isOver) return;
        for (const event of writer.failure(toHttpError(error))) send(form.write(event));
        if (form.end !== '') send(form.end);
        end(error);
      }
      controller.close();
    },
    cancel() {
      end(clientGone());
    },
  });
  return new Response(body, { headers: { ...HEADERS, 'content-type': form.contentType } });
}
