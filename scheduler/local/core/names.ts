const idLengthMax = 255

/** Why a text cannot be the id of a framework, task or volume; undefined if it can. */
export function idProblem (id: string): string | undefined {
  if (id === '') return 'ID must not be empty'
  if (id.length > idLengthMax) return `ID must not be greater than ${idLengthMax} characters`
  if (id === '.' || id === '..') return `'${id}' is disallowed`
  return /[\u0000-\u001f\u007f/\\]/.test(id) ? `'${id}' contains invalid characters` : undefined
}

/** Why a text cannot be a role; undefined if it can. */
export function roleProblem (role: string): string | undefined {
  if (role === '*') return undefined
  if (role === '') return 'Empty role name is invalid'
  if (role.startsWith('/')) return `Role '${role}' cannot start with a slash`
  if (role.endsWith('/')) return `Role '${role}' cannot end with a slash`
  if (role.includes('//')) return `Role '${role}' cannot contain two adjacent slashes`
  for (const component of role.split('/')) {
    if (component === '.' || component === '..' || component === '*') return `Role '${role}' cannot include '${component}' as a component`
    if (component.startsWith('-')) return `Role component '${component}' is invalid because it starts with a dash`
    if (/[\s\b]/.test(component)) return `Role component '${component}' is invalid because it contains backspace or whitespace`
  }
  return undefined
}

/** Whether `role` is strictly below `parent` in the hierarchy. */
export function isBelow (role: string, parent: string): boolean { return role.startsWith(`${parent}/`) }

/** Whether what is reserved for `reserved` may be offered to `role`: to itself and to all below it. */
export function mayUse (role: string, reserved: string): boolean { return role === reserved || isBelow(role, reserved) }
