/** Names for containers that were given none. */
const adjectives =
  'able amber bold brave bright brisk calm clever crisp daring eager fair fleet gentle glad golden keen kind lively lucid merry noble proud quick quiet rapid sharp silver steady sunny swift warm wise witty'.split(
    ' ',
  );
const animals =
  'ant badger bee beetle bison crane dove duck eagle falcon finch fox gull hare hawk heron ibis jay kite lark lynx mole moth otter owl plover raven robin seal stork swan tern thrush wasp wren'.split(
    ' ',
  );

/** `swift_heron`; from the `attempt`-th on with a number. `fraction` gives numbers in [0, 1). */
export function randomContainerName(fraction: () => number, attempt: number): string {
  const pick = (words: readonly string[]): string => words[Math.floor(fraction() * words.length)] ?? '';
  const name = `${pick(adjectives)}_${pick(animals)}`;
  return attempt === 0 ? name : `${name}${Math.floor(fraction() * 10 ** Math.min(attempt, 9))}`;
}
