-- Orders and who placed them.
CREATE TABLE customers (
    id INTEGER PRIMARY KEY,
    name VARCHAR(80) NOT NULL,
    country CHAR(2) DEFAULT 'DE'
);

CREATE TABLE orders (
    id INTEGER PRIMARY KEY,
    customer_id INTEGER REFERENCES customers (id),
    total NUMERIC(10, 2),
    placed_at TIMESTAMP
);

CREATE INDEX orders_by_customer ON orders (customer_id);

INSERT INTO customers (id, name, country)
VALUES (1, 'Ada', 'GB'), (2, 'O''Neill', 'IE');

/* What every customer
   has spent. */
SELECT
    c.name,
    COUNT(o.id) AS num_orders,
    COALESCE(SUM(o.total), 0) AS spent,
    CASE
        WHEN SUM(o.total) > 1000 THEN 'gold'
        ELSE 'plain'
    END AS status
FROM customers AS c
LEFT JOIN orders AS o ON o.customer_id = c.id
WHERE c.country IN ('GB', 'IE') AND o.placed_at >= '2024-01-01'
GROUP BY c.name
HAVING COUNT(o.id) > 0
ORDER BY spent DESC
LIMIT 10;

WITH latest AS (
    SELECT customer_id, MAX(placed_at) AS placed_at
    FROM orders
    GROUP BY customer_id
)
SELECT name FROM customers
WHERE id IN (SELECT customer_id FROM latest);

UPDATE orders SET total = total * 1.1 WHERE id = 7;

DELETE FROM orders WHERE total IS NULL;
