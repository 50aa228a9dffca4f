<?php

declare(strict_types=1);

namespace App\Mail;

use InvalidArgumentException;

/** A message and who gets it. ✉️😀 */
final class Message
{
    private array $to = [];

    public function __construct(
        private string $subject,
        private string $body = '',
    ) {
    }

    public function addTo(string $address, ?string $name = null): self
    {
        if (strpos($address, '@') === false) {
            throw new InvalidArgumentException("no address: {$address}");
        }
        $this->to[$address] = $name ?? $address;

        return $this;
    }

    public function render(): string
    {
        $lines = [];
        foreach ($this->to as $address => $name) {
            $lines[] = sprintf('To: %s <%s>', $name, $address);
        }
        $lines[] = 'Subject: ' . $this->subject;

        return implode("\r\n", $lines) . "\r\n\r\n" . $this->body;
    }
}

function send(Message $message): bool
{
    try {
        echo $message->render();
    } catch (\Exception $e) {
        return false;
    }
    return true;
}

$message = new Message('Grüße 👋', 'Hallo!');
send($message->addTo('a@example.org'));
