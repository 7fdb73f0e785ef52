/** The mount under load for two minutes, or for as long as CAIRN_SOAK_SECONDS says, on CAIRN_SOAK_ENGINE. */
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { isRunning } from '../../src/base/process-identity.js';
import { ENGINE_NAMES, type EngineName } from '../../src/mount/engine/engine.js';
import { describeMounts } from './can-mount.js';
import { useLab } from './lab-fixture.js';
import { runSeed } from './random.js';
import { type Sample, soak } from './soak.js';

const SECONDS = Number(process.env['CAIRN_SOAK_SECONDS'] ?? 120);
const ENGINE = (process.env['CAIRN_SOAK_ENGINE'] ?? ENGINE_NAMES[0]) as EngineName;

const RSS_MIB_MAX = 256;
/** What the last third of the time may need more than the second: the noise of a heap that is collected. */
const GROWTH_MAX = 1.1;

describeMounts(() => {
  describe(`${SECONDS} seconds of everything on ${ENGINE}`, () => {
    const lab = useLab();

    it(
      'every read is right, memory is bounded and does not grow, and nothing is left',
      async () => {
        const seed = runSeed();
        const { samples, done } = await soak(lab(), ENGINE, SECONDS, seed);
        process.stdout.write(`seed ${seed}\n${table(samples)}${JSON.stringify(done, null, 2)}\n`);
        const thirds = [0, 1, 2].map((third) => medianOf(part(samples, third), ({ rssMib }) => rssMib));
        expect(Math.max(...samples.map(({ rssMib }) => rssMib))).toBeLessThan(RSS_MIB_MAX);
        // A shorter time is over before the caches are full.
        if (SECONDS >= 60) expect(thirds[2]).toBeLessThan((thirds[1] ?? 0) * GROWTH_MAX);
        for (const { session, server } of lab().sessions) {
          expect([isRunning(session), isRunning(server)]).toEqual([false, false]);
        }
        expect(await readFile('/proc/self/mountinfo', 'utf8')).not.toContain(lab().directory);
      },
      SECONDS * 1000 + 240_000,
    );
  });
});

function part(samples: readonly Sample[], third: number): readonly Sample[] {
  return samples.slice((samples.length * third) / 3, (samples.length * (third + 1)) / 3);
}

function medianOf(samples: readonly Sample[], value: (sample: Sample) => number): number {
  const values = samples.map(value).sort((a, b) => a - b);
  return values[Math.floor(values.length / 2)] ?? 0;
}

/** A line for each of twenty stretches of time. */
function table(samples: readonly Sample[]): string {
  const step = Math.max(1, Math.ceil(samples.length / 20));
  const lines = samples
    .filter((_, index) => index % step === 0)
    .map(({ atSeconds, rssMib, ownMib, threads, descriptors }) =>
      [
        `${atSeconds} s`,
        `${rssMib} MiB`,
        `${ownMib} MiB own`,
        `${threads} threads`,
        `${descriptors} descriptors`,
      ].join('\t'),
    );
  return `${lines.join('\n')}\n`;
}
