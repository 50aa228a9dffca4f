import { useState } from "react";

const PAGE_SIZE = 20;

function Row({ item, onPick }) {
  return (
    <li className={item.done ? "done" : "open"} onClick={() => onPick(item.id)}>
      <span>{item.name}</span> {item.count > 1 && <b>{`${item.count} times`}</b>}
    </li>
  );
}

// One page of a list, and a button for the next one.
export default function List({ items, title = "All" }) {
  const [picked, setPicked] = useState(null);
  const [page, setPage] = useState(0);
  const shown = items.slice(page * PAGE_SIZE, (page + 1) * PAGE_SIZE);

  if (!items.length) {
    return <p>Nothing here.</p>;
  }
  return (
    <section>
      <h2>
        {title} ({items.length})
      </h2>
      <ul>
        {shown.map((item) => (
          <Row key={item.id} item={item} onPick={setPicked} />
        ))}
      </ul>
      {/* The rest comes when it is asked for. */}
      <button disabled={shown.length < PAGE_SIZE} onClick={() => setPage(page + 1)}>
        More
      </button>
      <input type="text" value={picked ?? ""} readOnly />
    </section>
  );
}
