/** Rows of what `inTurnWithin` gave: ours beside limits of the machine and beside peers. */

/** One row. `limits` maps subjects to { name, target }, as everywhere; all others but `cairn` are peers, each of which
 *  is to take `timesOursMin` times as long as we do. `samplesOf` takes the figure that counts out of what a subject
 *  gave, by default its seconds. Failures and fewer rounds are noted beside the figures. */
export function peerRow(results, { limits = {}, timesOursMin, samplesOf, extra, note, ...row }) {
  const figures = (result) => (samplesOf ? result.outcomes.map(samplesOf) : result.samples).filter(isFigure);
  const beside = (subject, result) => ({
    ...(limits[subject] ?? { name: subject, isPeer: true, timesOursMin }),
    samples: figures(result),
    note: result.note,
    ...besides(result),
  });
  const others = Object.entries(results).filter(([subject]) => subject !== 'cairn');
  const failed = Object.entries(results).flatMap(([name, { error }]) => (error ? [{ name, error }] : []));
  if (results.cairn.samples.length === 0) throw new Error(results.cairn.error);
  const peakBytes = peakOf(results.cairn);
  return {
    unit: 's',
    better: 'lower',
    ...row,
    name: `${row.name}, cairn`,
    samples: figures(results.cairn),
    limits: others
      .map(([subject, result]) => beside(subject, result))
      .filter(({ samples }) => samples.length > 0),
    note: [results.cairn.note, note].filter(Boolean).join('; ') || undefined,
    failed: failed.length > 0 ? failed : undefined,
    extra: { ...besides(results.cairn), ...extra, peakBytes },
  };
}

/** What else the last outcome tells. */
function besides(result) {
  const { storedBytes, files } = result.outcomes.at(-1) ?? {};
  return { peakBytes: peakOf(result), storedBytes, files };
}

function peakOf({ outcomes }) {
  const peaks = outcomes.map(({ peakBytes }) => peakBytes).filter(isFigure);
  return peaks.length > 0 ? Math.max(...peaks) : undefined;
}

function isFigure(value) {
  return Number.isFinite(value);
}
