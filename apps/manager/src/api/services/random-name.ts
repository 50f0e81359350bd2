/** A name for a service that was given none: an adjective and a living thing. */
const adjectives = [
  'brave',
  'bright',
  'calm',
  'clever',
  'eager',
  'fair',
  'gentle',
  'glad',
  'keen',
  'kind',
  'lively',
  'mild',
  'neat',
  'noble',
  'patient',
  'proud',
  'quick',
  'quiet',
  'ready',
  'steady',
  'sunny',
  'swift',
  'warm',
  'wise',
];
const beings = [
  'acacia',
  'anteater',
  'bee',
  'capybara',
  'cedar',
  'coati',
  'condor',
  'firefly',
  'heron',
  'hummingbird',
  'ibis',
  'ipe',
  'jaguar',
  'macaw',
  'manatee',
  'marmoset',
  'orchid',
  'otter',
  'palm',
  'puma',
  'sloth',
  'tapir',
  'toucan',
  'wasp',
];

/** `random` has two bytes or more; with `attempt` a number follows, for when the name is taken. */
export function randomName(random: Uint8Array, attempt = 0): string {
  const [a = 0, b = 0] = random;
  const name = `${adjectives[a % adjectives.length]}_${beings[b % beings.length]}`;
  return attempt === 0 ? name : `${name}${attempt}`;
}
