import { useState } from "react";

type Todo = { id: number; title: string; done: boolean };

export function TodoList({ todos }: { todos: Todo[] }) {
  const [hideDone, setHideDone] = useState(false);
  const visible = hideDone ? todos.filter((todo) => !todo.done) : todos;
  return (
    <section>
      <label>
        <input type="checkbox" checked={⟦hideDone⟧} onChange={() => setHideDone(!hideDone)} />
        Hide what is done
      </label>
      <ul>
        {visible.map((todo) => (
          <li key={todo.id}>{todo.title}</li>
        ))}
      </ul>
    </section>
  );
}
