interface User {
  id: number;
  name: string;
  email: string;
}

const cache = new Map<number, User>();

export async function fetchUser(id: number, baseUrl: string): Promise<User> {
  const known = cache.get(id);
  if (known) {
    return known;
  }
  const response = await fetch(`${baseUrl}/users/${id}`);
  if (!response.ok) {
    throw new Error(`no user ${id}: ${response.status}`);
  }
  const user = (await response.json()) as User;
  cache.set(⟦id, user⟧);
  return user;
}
