/** Disks that are full or may not be written, files that may not be read, and too many of them open. */
const CODES = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EFBIG', 'EIO', 'EACCES', 'EPERM', 'EMFILE', 'ENFILE']);

/** Whether the machine refused something, which is no fault of this program: its message is enough. */
export function isMachineFault(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error && 'code' in error && CODES.has(String(error.code));
}
