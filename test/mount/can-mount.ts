/** Whether this machine can run tests of real mounts. */
import { existsSync } from 'node:fs';
import { describe, it } from 'vitest';

/** Runs `suite` where root has /dev/fuse, and is one skipped test that says why where not. */
export function describeMounts(suite: () => void): void {
  const reason = whyNot();
  if (reason === null) suite();
  else describe('real mounts', () => it.skip(`left out: ${reason}`, () => {}));
}

function whyNot(): string | null {
  if (process.geteuid?.() !== 0) return 'not root';
  return existsSync('/dev/fuse') ? null : 'no /dev/fuse';
}
