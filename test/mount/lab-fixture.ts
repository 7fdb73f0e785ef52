/** A lab for each test of a suite, taken down when the test is over. */
import { afterEach, beforeEach } from 'vitest';
import { MountLab } from './mount-lab.js';

/** Called inside of `describe`; the function it gives is called inside of tests. */
export function useLab(): () => MountLab {
  let lab: MountLab;
  beforeEach(async () => {
    lab = await MountLab.make();
  });
  afterEach(() => lab[Symbol.asyncDispose]());
  return () => lab;
}
