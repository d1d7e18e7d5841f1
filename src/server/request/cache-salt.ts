import { createHash } from 'node:crypto';

/**
 * Salt of a request's states in the prefix cache, made of the tenant, if tenants are kept apart, and of the request's
 * own salt. Undefined without either: such requests share their states.
 */
export function cacheSaltOf(tenant: string | undefined, salt: string | undefined): string | undefined {
  if (tenant === undefined && salt === undefined) return undefined;
  // A digest has one length, however long the salt is, and digests of two tenants differ.
  return createHash('sha256')
    .update(JSON.stringify([tenant ?? null, salt ?? null]))
    .digest('hex');
}
