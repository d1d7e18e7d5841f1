/** The command line itself is wrong; nothing was done yet. */
export class UsageError extends Error {
  constructor(problem: string, hint = '') {
    super(hint ? `${problem} ${hint}` : problem);
    this.name = 'UsageError';
  }
}
