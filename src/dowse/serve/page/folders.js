// Step 7 of 7, serve: which folders the map tells apart by colour.

/** Colours there are; what belongs to no coloured folder shares one more, the last. */
export const COLOURS = 10;

/** A folder with a smaller share of the points gets no colour of its own. */
const LEAST = 0.01;

/** No more than this share of the points is left without a colour of its own for the sake of smaller folders. */
const UNCOLOURED = 0.1;

/**
 * Divide points by folder: again and again the largest group is divided into its subfolders, while the colours suffice.
 * @param {{repository: string, path: string}[]} points
 * @returns {{name: string, isRest: boolean, points: number[]}[]} groups, largest first; at most COLOURS, and one of the
 *   rest, called "other" as any folder may be.
 */
export function folders(points) {
  const several = new Set(points.map((point) => point.repository)).size > 1;
  const parts = points.map(({ repository, path }) => {
    const inside = path.split("/").slice(0, -1);
    return several ? [repository, ...inside] : inside;
  });
  const isLarge = (group) => group.points.length >= LEAST * points.length;
  let groups = [{ depth: 0, name: "", points: points.map((_, index) => index), isWhole: false }];
  for (;;) {
    const largest = groups.find((group) => !group.isWhole);
    if (!largest) break;
    const divided = [...groups.filter((group) => group !== largest), ...divide(largest, parts)].sort(bySize);
    const uncoloured = divided.slice(COLOURS).reduce((sum, group) => sum + group.points.length, 0);
    if (uncoloured > UNCOLOURED * points.length && groups.length > 1) largest.isWhole = true;
    else groups = divided;
  }
  const named = groups.filter((group, at) => at < COLOURS && isLarge(group));
  const rest = groups.slice(named.length).flatMap((group) => group.points);
  const found = named.map((group) => ({ name: group.name || "top folder", isRest: false, points: group.points }));
  return rest.length ? [...found, { name: "other", isRest: true, points: rest }] : found;
}

const bySize = (a, b) => b.points.length - a.points.length || a.name.localeCompare(b.name);

/** Divide a group by the next folder of its points' paths; files that lie in the folder itself stay together. */
function divide({ depth, name, points }, parts) {
  const found = new Map();
  for (const index of points) {
    const next = parts[index][depth] ?? null;
    if (!found.has(next)) found.set(next, []);
    found.get(next).push(index);
  }
  return [...found].map(([next, inside]) =>
    next === null
      ? { depth, name, points: inside, isWhole: true }
      : { depth: depth + 1, name: name ? `${name}/${next}` : next, points: inside, isWhole: false },
  );
}
