import { useEffect, useState, type ReactNode } from "react";

interface Props {
  title: string;
  children?: ReactNode;
}

type Item = { id: number; label: string };

export function Panel({ title, children }: Props) {
  return (
    <section className="panel">
      <h2>{title} 🎉</h2>
      {children}
    </section>
  );
}

export function List({ url }: { url: string }) {
  const [items, setItems] = useState<Item[]>([]);
  const [error, setError] = useState<string | null>(null);

  useEffect(() => {
    const controller = new AbortController();
    fetch(url, { signal: controller.signal })
      .then((response) => response.json())
      .then((data: Item[]) => setItems(data))
      .catch((reason: Error) => setError(reason.message));
    return () => controller.abort();
  }, [url]);

  if (error !== null) {
    return <p role="alert">{error}</p>;
  }
  return (
    <Panel title="Items">
      <ul>
        {items.map((item) => (
          <li key={item.id} onClick={() => console.log(item)}>
            {item.label}
          </li>
        ))}
      </ul>
      <img src="/logo.png" alt="logo" />
    </Panel>
  );
}
