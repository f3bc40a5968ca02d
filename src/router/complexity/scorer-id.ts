/**
 * Names the scorer in use. A new one whenever its predictions mean something else: what was learned of the corrections
 * of one is not used for another.
 */
export const scorerId = 'trained-2';
