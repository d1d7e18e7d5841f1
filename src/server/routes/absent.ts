import { HttpError } from '../wire/http-error.ts';

const NOT_STORED = 'Responses are not stored: this server gives each one once, in answer to its request.';

/** Paths that clients ask for, and why there is nothing. */
export const ABSENT_PATHS: ReadonlyMap<string, string> = new Map([
  [
    '/v1/embeddings',
    'There are no embeddings: the models that this server runs are trained to continue texts, and none of them to give one vector for a text.',
  ],
  ['/v1/responses/:response_id', NOT_STORED],
  ['/v1/responses/:response_id/*', NOT_STORED],
]);

/** Answers a request for such a path. 404 and not 501, because clients repeat what was answered with 5xx. */
export function absent(message: string): () => never {
  return () => {
    throw new HttpError(404, message, { code: 'not_supported' });
  };
}
