import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { RevisionRow } from '../../src/base/revision-row.js';
import { resolveRevision } from '../../src/policy/expression.js';

function row(revision: string, sequence: number, more: Partial<RevisionRow> = {}): RevisionRow {
  const at = revision.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z.*$/, '$1-$2-$3T$4:$5:$6.400Z');
  return {
    disk: 'web',
    revision,
    sequence,
    createdAt: at,
    sizeBytes: 1,
    storedBytes: 1,
    tags: ['manual'],
    trust: 'trusted',
    protected: false,
    consistency: 'live',
    ...more,
  };
}

const ROWS: RevisionRow[] = [
  row('20261118T235959Z-aaaa', 1, { tags: ['golden', 'manual'] }),
  row('20261119T120000Z-aaab', 2),
  row('20261119T120000Z-aaac', 3, { tags: ['golden'] }),
  row('20261120T080000Z-aaad', 4, { trust: 'verified' }),
  row('20261120T201500Z-k3f9', 5, { trust: 'distrusted', tags: ['suspect'] }),
  row('20261120T201501Z-k3fa', 1, { disk: 'mail' }),
];
const BARE = { bareDiskMeansLatest: true };
const chosen = (expression: string, rows = ROWS) => resolveRevision(rows, expression, BARE).row.revision;
const failure = (expression: string, options = BARE) => {
  try {
    resolveRevision(ROWS, expression, options);
  } catch (error) {
    return error as { code: string; message: string; hint: string };
  }
  throw new Error('should have thrown');
};

beforeEach(() => {
  vi.stubEnv('TZ', 'UTC');
});
afterEach(() => {
  vi.unstubAllEnvs();
});

describe('latest', () => {
  test('skips distrusted revisions and says so', () => {
    const { row: latest, notes } = resolveRevision(ROWS, 'web@latest', BARE);
    expect(latest.revision).toBe('20261120T080000Z-aaad');
    expect(notes).toEqual([expect.stringContaining('web@20261120T201500Z-k3f9 is newer but distrusted')]);
  });

  test('counts back with ~', () => {
    expect(chosen('web@latest~0')).toBe('20261120T080000Z-aaad');
    expect(chosen('web@latest~2')).toBe('20261119T120000Z-aaab');
    expect(failure('web@latest~4').code).toBe('NO_SUCH_REVISION');
  });

  test('is what a bare disk means to a reading command, and no other', () => {
    expect(chosen('mail')).toBe('20261120T201501Z-k3fa');
    expect(failure('mail', { bareDiskMeansLatest: false })).toMatchObject({
      code: 'USAGE',
      hint: expect.stringContaining('mail@latest'),
    });
  });
});

test('a full id is taken even when distrusted, with a note', () => {
  const { row: found, notes } = resolveRevision(ROWS, 'web@20261120T201500Z-k3f9', BARE);
  expect(found.sequence).toBe(5);
  expect(notes).toEqual(['web@20261120T201500Z-k3f9 is marked distrusted.']);
});

test('a tag means the newest revision that has it', () => {
  expect(chosen('web@golden')).toBe('20261119T120000Z-aaac');
});

test('the order of the rows does not matter', () => {
  expect(chosen('web@latest', ROWS.toReversed())).toBe('20261120T080000Z-aaad');
});

test('a unique prefix is enough; an ambiguous one lists its candidates', () => {
  expect(chosen('web@20261118')).toBe('20261118T235959Z-aaaa');
  expect(chosen('web@20261120T2')).toBe('20261120T201500Z-k3f9');
  expect(failure('web@20261119')).toMatchObject({
    code: 'AMBIGUOUS_REVISION',
    message: '“web@20261119” could be web@20261119T120000Z-aaab, web@20261119T120000Z-aaac.',
  });
});

describe('dates', () => {
  test.each([
    ['2026-11-19', '20261119T120000Z-aaac'],
    ['2030-01-01', '20261120T201500Z-k3f9'],
    ['2026-11-19T11:59', '20261118T235959Z-aaaa'],
    ['2026-11-19T12:00', '20261119T120000Z-aaac'],
    ['2026-11-18T23:59:59', '20261118T235959Z-aaaa'],
    ['2026-11-20T09:00+01:00', '20261120T080000Z-aaad'],
    ['2026-11-20T07:59:59Z', '20261119T120000Z-aaac'],
    ['2026-11-20T08:00:00.400Z', '20261120T080000Z-aaad'],
    ['2026-11-20T08:00:00.399Z', '20261119T120000Z-aaac'],
    ['2026-11-20T03:00-0500', '20261120T080000Z-aaad'],
  ])('web@%s is the newest at or before', (date, revision) => {
    expect(chosen(`web@${date}`)).toBe(revision);
  });

  test('are local time where no zone is given', () => {
    vi.stubEnv('TZ', 'Europe/Berlin');
    expect(chosen('web@2026-11-19T12:59')).toBe('20261118T235959Z-aaaa');
    expect(chosen('web@2026-11-19T13:00')).toBe('20261119T120000Z-aaac');
    // 23:59:59 UTC is the next day in Berlin.
    expect(failure('web@2026-11-18').code).toBe('NO_SUCH_REVISION');
  });

  test('pass over what was taken while the clock had jumped back', () => {
    const late = row('20261120T201500Z-k3g0', 6, { createdAt: '1970-01-01T00:00:00.000Z' });
    expect(chosen('web@2026-11-19', [...ROWS, late])).toBe('20261119T120000Z-aaac');
    expect(chosen('web@1970-01-01', [...ROWS, late])).toBe(late.revision);
    expect(chosen('web@latest', [...ROWS, late])).toBe(late.revision);
  });

  test('before the first revision name the oldest', () => {
    expect(failure('web@2020-01-01')).toMatchObject({
      code: 'NO_SUCH_REVISION',
      hint: expect.stringContaining('20261118T235959Z-aaaa'),
    });
  });

  test.each(['2026-02-30', '2026-13-01', '2026-11-20T24:00', '2026-11-20T12:60', '2026-11-20T12:00+99:00'])(
    '%s does not exist',
    (date) => {
      expect(failure(`web@${date}`)).toMatchObject({ code: 'USAGE', message: expect.stringContaining(date) });
    },
  );
});

describe('what is not there', () => {
  test('a disk: with the one that was meant', () => {
    expect(failure('wbe@latest')).toMatchObject({
      code: 'NO_SUCH_DISK',
      hint: expect.stringContaining('“web”'),
    });
  });

  test('a revision: with the tag that was meant', () => {
    expect(failure('web@goldne')).toMatchObject({
      code: 'NO_SUCH_REVISION',
      hint: expect.stringContaining('web@golden'),
    });
  });

  test.each(['web@', '@latest', '', 'a/b@latest', 'we\u0007b@latest'])(
    '%j is no expression',
    (expression) => {
      expect(failure(expression).code).toBe('USAGE');
    },
  );

  test('control characters in a selector are shown escaped', () => {
    expect(failure('web@x\u001b[2J').message).toContain('x\\x1b[2J');
  });
});

test('model: on random listings every way to name a revision agrees with a plain search', () => {
  const seed = Date.now() % 100_000;
  let state = seed;
  const random = (below: number) => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return Math.floor((state / 2 ** 31) * below);
  };
  for (let round = 0; round < 200; round++) {
    const rows = Array.from({ length: 1 + random(12) }, (_, index) => {
      const id = `202611${10 + index}T${10 + random(10)}0000Z-${random(36).toString(36)}aaa`;
      return row(id, index + 1, {
        trust: random(3) === 0 ? 'distrusted' : 'trusted',
        tags: random(2) === 0 ? ['even'] : [],
      });
    });
    const context = `seed ${seed}, round ${round}`;
    for (const each of rows) expect(chosen(`web@${each.revision}`, rows), context).toBe(each.revision);
    const trusted = rows.filter((each) => each.trust !== 'distrusted');
    for (const [index, each] of trusted.entries()) {
      expect(chosen(`web@latest~${trusted.length - 1 - index}`, rows), context).toBe(each.revision);
    }
    const tagged = rows.filter((each) => each.tags.includes('even')).at(-1);
    if (tagged !== undefined) expect(chosen('web@even', rows), context).toBe(tagged.revision);
    for (const each of rows) {
      expect(chosen(`web@${each.createdAt}`, rows), context).toBe(each.revision);
      expect(chosen(`web@${each.revision.slice(0, 8)}`, rows), context).toBe(each.revision);
    }
  }
});
