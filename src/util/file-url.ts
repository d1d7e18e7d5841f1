/**
 * The path that a `file:` URL names, in Node.
 * @param refuse makes the error for a URL that names none, such as one with an encoded slash.
 */
export function pathOfFileUrl(url: string, refuse: (reason: string) => Error): string {
  try {
    return process.getBuiltinModule('node:url').fileURLToPath(url);
  } catch (error) {
    throw refuse(error instanceof Error ? error.message : String(error));
  }
}
