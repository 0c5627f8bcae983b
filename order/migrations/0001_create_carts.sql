-- +goose Up
-- open_key holds user_id while the cart is the one of carts/mine, and NULL otherwise: a user has at
-- most one such cart. version counts changes of the items.
CREATE TABLE carts (
    cart_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id BIGINT NOT NULL,
    state VARCHAR(16) NOT NULL,
    open_key BIGINT,
    order_id BIGINT NOT NULL,
    retired BOOLEAN NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE UNIQUE INDEX carts_open_key ON carts (open_key);
CREATE INDEX carts_user_id ON carts (user_id, cart_id);

-- seen_price is what the owner of the cart saw last, in minor units.
CREATE TABLE cart_items (
    cart_id BIGINT NOT NULL,
    product_id BIGINT NOT NULL,
    quantity BIGINT NOT NULL,
    product_title VARCHAR(255) NOT NULL,
    seen_price BIGINT NOT NULL,
    currency CHAR(3) NOT NULL,
    PRIMARY KEY (cart_id, product_id),
    CHECK (quantity > 0),
    FOREIGN KEY (cart_id) REFERENCES carts (cart_id)
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
