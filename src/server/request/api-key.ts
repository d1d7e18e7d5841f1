import { createHash, timingSafeEqual } from 'node:crypto';
import type { MiddlewareHandler } from 'hono';
import { ArgumentError } from '../../errors.ts';
import { HttpError } from '../wire/http-error.ts';
import type { ServerEnv } from './env.ts';

/**
 * Middleware that requires one of the keys: `Authorization: Bearer …`, or `x-api-key`, as Anthropic's clients send it.
 * Without keys every request passes.
 * @param keepsApart whether each key is a tenant of its own.
 * @throws ArgumentError for an empty key.
 */
export function requireApiKey(keys: readonly string[], keepsApart: boolean): MiddlewareHandler<ServerEnv> {
  if (keys.some((key) => key.trim() === '')) {
    throw new ArgumentError('An API key is empty.', 'Leave it out: without keys every request passes.');
  }
  const digests = keys.map(digest);
  return async (c, next) => {
    if (digests.length > 0) {
      const [, bearer] = /^Bearer +(.+)$/i.exec(c.req.header('authorization') ?? '') ?? [];
      const given = bearer ?? c.req.header('x-api-key');
      // Digests have one length, and the time to compare them reveals nothing about the key.
      const own = given === undefined ? undefined : digest(given);
      const found = own !== undefined && digests.filter((each) => timingSafeEqual(each, own)).length > 0;
      if (!found) throw unauthorized(given !== undefined);
      if (keepsApart) c.set('tenant', own.toString('hex'));
    }
    return next();
  };
}

function unauthorized(hasKey: boolean): HttpError {
  const message = hasKey ? 'The API key is wrong.' : "An API key is needed: 'Authorization: Bearer …'.";
  return new HttpError(401, message, { code: 'invalid_api_key', headers: { 'www-authenticate': 'Bearer' } });
}

function digest(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}
