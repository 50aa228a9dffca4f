<?php

class Mail
{
    private array $to = [];
    private string $subject = '';

    public function to(string $address): self
    {
        $this->to[] = $address;
        return $this;
    }

    public function subject(string $subject): self
    {
        $this->subject = trim(⟦$subject⟧);
        return $this;
    }

    public function send(string $body): bool
    {
        return mail(implode(', ', $this->to), $this->subject, $body);
    }
}
