import { createHash } from 'node:crypto';

/**
 * Under which the engine keeps a request's states apart: of the tenant, where tenants are kept apart, and of the salt
 * that the request brings. Undefined: they are shared by all who have neither.
 */
export function cacheSaltOf(tenant: string | undefined, salt: string | undefined): string | undefined {
  if (tenant === undefined && salt === undefined) return undefined;
  // Of one length, however long the salt is; and no tenant's salt can be that of another.
  return createHash('sha256')
    .update(JSON.stringify([tenant ?? null, salt ?? null]))
    .digest('hex');
}
